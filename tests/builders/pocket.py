"""A small pocket-tts with random weights and a YAML with local paths: noise of the right shape and rate."""

from pathlib import Path


def build_pocket(folder: Path, *, seed: int = 0) -> Path:
    """Write a model (weights, tokenizer and config) into `folder` and return the path of its YAML."""
    import pocket_tts
    import safetensors.torch
    import torch
    import yaml
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.BpeTrainer(vocab_size=200, special_tokens=["<unk>", "<pad>"], show_progress=False)
    tokenizer.train_from_iterator(["the quick brown fox jumps over the lazy dog, hello world! olá, tudo bem?"], trainer)
    tokenizer.add_tokens([f"<{number}>" for number in range(200 - tokenizer.get_vocab_size())])
    tokenizer.save(str(folder / "tokenizer.json"))

    shipped = Path(pocket_tts.__file__).parent / "config" / "english.yaml"
    config = yaml.safe_load(shipped.read_text())
    config |= {"weights_path": None, "weights_path_without_voice_cloning": None}
    flow, mimi = config["flow_lm"], config["mimi"]
    flow["lookup_table"] |= {"tokenizer_path": str(folder / "tokenizer.json"), "dim": 64, "n_bins": 200}
    flow["transformer"] |= {"d_model": 64, "num_heads": 2, "num_layers": 1}
    flow["flow"] |= {"depth": 1, "dim": 32}
    mimi["seanet"] |= {"n_filters": 4}
    mimi["transformer"] |= {"num_layers": 1, "dim_feedforward": 64}
    # Random weights never signal the end: speech ends at the library's limit for the text's length.
    config["default_eos_threshold"] = 1e9
    bare = folder / "bare.yaml"
    bare.write_text(yaml.safe_dump(config))

    torch.manual_seed(seed)
    model = pocket_tts.TTSModel.load_model(config=bare)
    for value in model.state_dict().values():
        if value.is_floating_point():
            value.nan_to_num_(0.0)
            if value.dim() > 1:
                torch.nn.init.normal_(value, std=0.05)
    weights = folder / "model.safetensors"
    safetensors.torch.save_file({name: value.contiguous() for name, value in model.state_dict().items()}, weights)
    config["weights_path"] = str(weights)
    path = folder / "pocket.yaml"
    path.write_text(yaml.safe_dump(config))
    return path
