"""The synthetic demo corpus: real mp4 files acted by drawn faces and synthetic voices."""
