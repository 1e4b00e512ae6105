"""Methods of videos and texts, one file each."""
