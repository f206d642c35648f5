"""Reading media files: containers, frames, audio, archives."""
