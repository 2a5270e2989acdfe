"""What other programs call a setting, and what it is here, where likeness of names would lead elsewhere."""

_LENGTH = "steps, the iterations of the whole run: epochs * images / batch_size"
_SOURCE = "data.source, and of a pair data.target"
_SCHEDULE = "method.schedule.constant_steps and method.schedule.decay_steps, in iterations"
_PARTS = "microbatches, the parts of a device's batch; batch_size is that of one optimiser step, as ever"
_SIDE = "data.image_size, the side of the training images in pixels"
SETTINGS = {
    **dict.fromkeys("epochs epoch n_epochs num_epochs max_epochs iterations iters niter max_iter".split(), _LENGTH),
    **dict.fromkeys("total_iters max_steps num_steps".split(), _LENGTH),
    **dict.fromkeys("n_epochs_decay niter_decay".split(), _SCHEDULE),
    "lr": "method.adam.learning_rate",
    **dict.fromkeys("beta1 beta2".split(), "method.adam.b1 and method.adam.b2"),
    **dict.fromkeys("batch bs batchsize minibatch".split(), "batch_size"),
    **dict.fromkeys("size resolution img_size imsize imgsize crop_size".split(), _SIDE),
    **dict.fromkeys("gpu gpus gpu_id gpu_ids ngpu num_gpus".split(), "devices, how many take part; 0: all there are"),
    **dict.fromkeys("dataroot data_path data_dir datadir dataset train_dir root path".split(), _SOURCE),
    **dict.fromkeys("name output out out_dir output_dir save_dir logdir log_dir checkpoints_dir".split(), "--workdir"),
    **dict.fromkeys("resume continue_train load_iter".split(), "the same command again: it continues what it began"),
    **dict.fromkeys("amp fp16 bf16 half mixed_precision".split(), "precision=bf16"),
    **dict.fromkeys("remat gradient_checkpointing activation_checkpointing checkpointing".split(), "recompute=full"),
    **dict.fromkeys("accumulate accumulation_steps grad_accum gradient_accumulation_steps".split(), _PARTS),
    **dict.fromkeys("workers num_workers num_threads".split(), "nothing to set: images are read by all cores"),
    **dict.fromkeys("save_freq save_every save_epoch_freq".split(), "checkpoint_every, in iterations"),
    **dict.fromkeys("print_freq display_freq".split(), "log_every and image_every, in iterations"),
    **dict.fromkeys("eval_freq val_freq".split(), "evaluate_every, in iterations"),
    **dict.fromkeys("input_nc in_channels".split(), "data.channels"),
    **dict.fromkeys("output_nc out_channels".split(), "data.target_channels"),
    **dict.fromkeys("classes num_classes num_domains k".split(), "method.domains, of TUNIT"),
    **dict.fromkeys("ngf ndf".split(), "the width of the generator or the discriminator: `uit config` lists them"),
}
