"""The demo corpus: synthetic actors, rendered and spoken, written as real video files."""
