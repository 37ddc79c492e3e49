"""What a SOURCE names: models of libraries, of files, of the user's own code."""
