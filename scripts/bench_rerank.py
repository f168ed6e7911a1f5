"""How long does it take to verify a pair of photos, and what is it worth, beside OpenCV's matcher and MAGSAC?

Every query of $IMGRET_TEST_DATA/photos/smvs_landmarks and some others of its gallery, which with as many distractors are ranked by inliers
alone: mAP of the same pairs. Times are processor time on one thread, in turn, of pairs of photos with 2000 keypoints each, from stored
descriptors (or words, of a codebook of 20,000 if one is given) to the number of inliers. What is done once for a photo that asks is done
before. pycolmap's two-view geometry is beside it where it is installed.

    IMGRET_TEST_DATA=/path/to/data python scripts/bench_rerank.py [--words CODEBOOK]
"""

BAR, WORDS_BAR, FASTER = 8.0, 0.3, 3.0
