"""Web page with predictions of a film or of the webcam."""
