"""What a run leaves behind: its folder, checkpoints and tables, and who may write there."""
