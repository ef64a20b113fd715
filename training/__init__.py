"""Fine-tuning of timm backbones on faces: one recipe file in, one checkpoint folder out."""
