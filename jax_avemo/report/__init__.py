"""Reports: a run or a cross-validation as one HTML page."""
