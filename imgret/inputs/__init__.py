"""What steps read: the photos of several stores as one, samples of rows, boxes, galleries, queries, ranked lists."""
