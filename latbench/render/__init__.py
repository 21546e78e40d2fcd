"""What a person sees of a run: plain values in, lines out. It measures nothing."""
