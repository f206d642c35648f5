"""The machine: devices, processes, compilation, memory, files and progress."""
