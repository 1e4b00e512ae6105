"""The inputs of each kind of file, damaged and malicious."""
