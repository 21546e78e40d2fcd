"""A run's result in the formats of other tools: result or rows in, text or bytes out."""
