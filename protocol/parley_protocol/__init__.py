"""Sans-IO state machines and messages of a study and its rounds."""
