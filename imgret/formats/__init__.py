"""Files of other programs and of strangers: ground truths, boxes, rankings, matrices, feature files. Bounded; no code is run."""
