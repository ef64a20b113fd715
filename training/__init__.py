"""Training of timm backbones on faces: from a recipe to a checkpoint folder."""
