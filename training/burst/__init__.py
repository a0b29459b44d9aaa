"""The vocal-burst model: generator of training sounds, channel simulation, network, training, export, evaluation."""
