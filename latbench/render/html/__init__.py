"""A result, or two against one another, as one HTML file that opens offline."""
