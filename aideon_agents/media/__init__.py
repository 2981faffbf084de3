"""Pictures, speech, transcription and video: one protocol for each, and the same guard as for texts."""
