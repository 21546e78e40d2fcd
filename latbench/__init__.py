"""latbench: how long a market tick takes from the moment it was due, and where the time goes."""

__version__ = "0.1.0"
