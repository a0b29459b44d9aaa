"""Labelled faces for training and testing, rendered from the ICT-FaceKit head model (MIT).

Real photographs with labels are few where expressions are rare: anger, disgust, fear and contempt. Here a head of a
random person makes a face by FACS prototypes, in a random strength and asymmetry, under random light, before a random
camera. What such faces cannot teach: how real people show what they feel, wrinkles and skin as they are, hair and
lashes one by one, hands and hats, and what observers would call the face; their labels are what was acted.
"""
