"""What a chunk becomes, piece by piece."""
