"""What any experiment needs: options, run folders, logs, checkpoints, seeds, progress."""
