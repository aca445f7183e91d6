"""History and logs as files: asked for by a person, written by a worker in portions, fetched, forgotten after a day."""
