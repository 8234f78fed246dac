"""That nothing is heard which the light does not say: the card and the server are the witnesses."""
