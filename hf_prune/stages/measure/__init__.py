"""What the layers of a model do: distances between them, and what losing them costs."""
