"""Trained prompts in the files of CoOp's, CoCoOp's and MaPLe's reference implementations."""
