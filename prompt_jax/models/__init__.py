"""Trained models: fit, load, predict, save and share them; read model, then saved."""
