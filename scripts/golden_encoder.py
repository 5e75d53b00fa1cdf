"""Writes tests/golden/encoder: tiny random encoders in transformers' layout, and what transformers makes of texts.

Usage: python scripts/golden_encoder.py [OUT]     needs torch, transformers, tokenizers and safetensors; no network.

`bert/` is a BertModel with a WordPiece vocabulary, `xlm_roberta/` an XLMRobertaForMaskedLM (so its tensors carry the prefix
`roberta.`) with a Unigram vocabulary. `<folder>.json` holds the texts and, for each, the state of the first token (`cls`)
and the mean over its tokens (`mean`), both scaled to length 1; every text goes through the model alone, without padding.
"""

import json
import pathlib
import sys

import tokenizers
import torch
import transformers
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast, XLMRobertaConfig, XLMRobertaForMaskedLM

OUT = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "tests/golden/encoder")
WORDS = "jaguar car cat review live sound engine wild road queen piano query passage : the of part".split()
HAN = "光良演唱会北京大学"
TEXTS = [
    "jaguar",
    "query: jaguar",
    "passage: wild jaguar review",
    "The QUEEN of the piano, live!",
    "光良 演唱会 live",
    "jagaur enigne 北京大学",
    "Résumé naïve café",
    "a word nobody knows: zyzzyva 😀",
    "?!",
    "",
    "wild road engine sound " * 40,
]


def shaken(model, seed):
    """Random weights wide enough that attention is far from even; norms are not 1 and biases not 0."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in model.named_parameters():
            noise = torch.randn(p.shape, generator=generator)
            is_norm = "LayerNorm" in name or "layer_norm" in name
            p.copy_(1 + 0.2 * noise if is_norm and name.endswith("weight") else (0.1 if p.dim() == 1 else 0.3) * noise)
    return model.eval()


def wordpiece():
    letters = [chr(c) for c in range(ord("a"), ord("z") + 1)]
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    pieces = special + WORDS + list(",.!?") + list(HAN) + letters + ["##" + letter for letter in letters]
    vocab = {piece: i for i, piece in enumerate(dict.fromkeys(pieces))}
    tokenizer = Tokenizer(models.WordPiece(vocab, unk_token="[UNK]", max_input_chars_per_word=100))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    ends = [("[CLS]", vocab["[CLS]"]), ("[SEP]", vocab["[SEP]"])]
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0", pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1", special_tokens=ends
    )
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=64, **names)


def unigram():
    letters = [chr(c) for c in range(ord("a"), ord("z") + 1)]
    pieces = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    pieces += [("▁" + word, -3.0 - 0.01 * i) for i, word in enumerate(WORDS)]
    pieces += [(piece, -7.0 - 0.01 * i) for i, piece in enumerate(["▁", *",.!?:", *HAN, *letters])]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=3))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    names = {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>", "cls_token": "<s>"}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=32, **names)


def write(name, model, inner, tokenizer, longest):
    folder = OUT / name
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    rows = []
    for text in TEXTS:
        batch = tokenizer(text, truncation=True, max_length=longest, return_tensors="pt")
        ids, mask = batch["input_ids"], batch["attention_mask"]
        with torch.no_grad():
            states = inner(input_ids=ids, attention_mask=mask).last_hidden_state[0]
        unit = lambda v: (v / v.norm()).tolist()
        row = {"text": text, "ids": ids[0].tolist(), "cls": unit(states[0]), "mean": unit(states.mean(0))}
        rows.append(row)
    versions = {m.__name__: m.__version__ for m in (torch, transformers, tokenizers)}
    body = {"versions": versions, "max_tokens": longest, "rows": rows}
    (OUT / f"{name}.json").write_text(json.dumps(body, ensure_ascii=False, indent=None) + "\n", encoding="utf-8")
    # What reading the folder does not need.
    for extra in ("tokenizer_config.json", "special_tokens_map.json", "generation_config.json"):
        (folder / extra).unlink(missing_ok=True)


def main():
    torch.set_num_threads(1)
    tokenizer = wordpiece()
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
        max_position_embeddings=64, attn_implementation="eager",
    )
    model = shaken(BertModel(config, add_pooling_layer=False), 1)
    write("bert", model, model, tokenizer, 64)
    pooling = {"word_embedding_dimension": 32, "pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}
    (OUT / "bert/1_Pooling").mkdir(exist_ok=True)
    (OUT / "bert/1_Pooling/config.json").write_text(json.dumps(pooling, indent=2) + "\n")

    tokenizer = unigram()
    # Two positions are never used: they are counted from behind the padding id.
    config = XLMRobertaConfig(
        vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=34, type_vocab_size=1, layer_norm_eps=1e-5, attn_implementation="eager",
    )
    model = shaken(XLMRobertaForMaskedLM(config), 2)
    write("xlm_roberta", model, model.roberta, tokenizer, 32)


main()
