"""Training of timm backbones on faces, from recipe to checkpoint."""
