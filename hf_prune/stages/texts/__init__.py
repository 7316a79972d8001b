"""Texts, conversations, questions and images, and the check that none serves two purposes."""
