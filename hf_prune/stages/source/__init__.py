"""Where the model comes from: found on the Hub or this disk, converted to safetensors, with its licence."""
