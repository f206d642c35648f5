"""A page in the browser that shows what a network makes of a film or of the webcam."""
