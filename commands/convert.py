"""`python main.py convert MODEL.gguf FOLDER`: a language model for LLM_ENGINE=local."""

from pathlib import Path
from typing import Annotated

import typer

from commands.start import refuse
from pipeline.errors import BadInput


def convert(
    model: Annotated[Path, typer.Argument(help="A gguf file of a Llama, Mistral, SmolLM2, Qwen or Gemma model.")],
    folder: Annotated[Path, typer.Argument(help="The folder to make, for LOCAL_LLM.")],
    compute_type: Annotated[str, typer.Option(help="Number format of the weights in the folder.")] = "int8",
) -> None:
    """Convert a language model from a gguf file into a folder for LOCAL_LLM."""
    from pipeline.llm.conversion import convert as converted

    try:
        converted(model, folder, compute_type)
    except BadInput as error:
        raise refuse(error.message) from None
    print(f"{folder} is complete. Use it with: LLM_ENGINE=local LOCAL_LLM={folder}")
