"""Files on disks and servers: atomic writes, checkpoints, the Hugging Face Hub, and published weights."""
