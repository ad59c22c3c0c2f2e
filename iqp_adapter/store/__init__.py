"""What lies on disks and servers: files written whole, checkpoints, the Hugging Face Hub, published weights."""
