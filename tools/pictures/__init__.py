"""Pictures of the documentation: `packed_batch` and `before_after`, drawn with the shapes of `svg`."""
