"""capillary-export: every night, every customer's details, into tables that analysts trust."""

__version__ = "0.1.0"
