"""What a trained model is worth: bounds, active units, reconstructions and their likeness, and the cost of a step."""
