"""What a card claims, measured again."""
