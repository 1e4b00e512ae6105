"""Reads and writes checkpoints of CoOp's, CoCoOp's and MaPLe's reference implementations."""
