"""The facial-emotion model: data set, augmentation, network, training, distillation and int8 export."""
