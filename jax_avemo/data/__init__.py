"""From Recordings to stored Clips, and from Clips to Batches."""
