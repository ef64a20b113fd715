"""Release matrix: each model on each target in each precision, graded in steps."""
