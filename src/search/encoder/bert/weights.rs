//! The weights of an encoder, from `model.safetensors`: only what `config.json` asks for, each in the shape that it asks for,
//! is read, one tensor at a time, whatever else the file declares.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use candle_core::{DType, Device, Tensor};
use safetensors::tensor::{Metadata, TensorInfo};

use super::config::Shape;
use super::files;
use crate::recipe::Fingerprint;
use crate::search::index::check;

/// Most bytes of the file's header: a thousand tensors take a tenth of it.
const HEADER_BYTES: u64 = 4 << 20;
/// What stands before the names of an encoder that was saved under a head.
const PREFIXES: [&str; 3] = ["", "bert.", "roberta."];
const FIRST: &str = "embeddings.word_embeddings.weight";

/// Reads every parameter of `shape` as float32, and adds it to the fingerprint.
pub(super) fn read(folder: &Path, shape: &Shape, print: &mut Fingerprint) -> Result<HashMap<String, Tensor>> {
    let path = folder.join("model.safetensors");
    let (mut file, bytes) = files::open(&path)?;
    let (header, start) = header(&mut file, bytes)
        .with_context(|| format!("{} is damaged (truncated, or not safetensors): fetch it again", path.display()))?;
    let failed = || format!("cannot use {}", path.display());
    // All are looked at before the first is read.
    let wanted = wanted(&header, shape).with_context(failed)?;
    let mut tensors = HashMap::with_capacity(wanted.len());
    for (name, info, dtype) in wanted {
        let body = body(&mut file, start, info).with_context(failed)?;
        print.add(name.as_bytes());
        print.add(dtype.as_str().as_bytes());
        print.add(&check(&body).to_le_bytes());
        let tensor = Tensor::from_raw_buffer(&body, dtype, &info.shape, &Device::Cpu)?.to_dtype(DType::F32)?;
        tensors.insert(name, tensor);
    }
    Ok(tensors)
}

/// What the file declares, and where its tensors begin.
fn header(file: &mut File, bytes: u64) -> Result<(Metadata, u64)> {
    let mut length = [0; 8];
    file.read_exact(&mut length)?;
    let length = u64::from_le_bytes(length);
    ensure!(length <= HEADER_BYTES && 8 + length <= bytes, "its header's length is {length}");
    let mut text = vec![0; length as usize];
    file.read_exact(&mut text)?;
    let header: Metadata = serde_json::from_slice(&text)?;
    let declared = 8 + length + header.data_len() as u64;
    ensure!(declared == bytes, "its header declares {declared} bytes, the file has {bytes}");
    Ok((header, 8 + length))
}

/// Where each parameter of `shape` lies.
fn wanted<'a>(header: &'a Metadata, shape: &Shape) -> Result<Vec<(String, &'a TensorInfo, DType)>> {
    let prefix = PREFIXES.into_iter().find(|prefix| header.info(&format!("{prefix}{FIRST}")).is_some());
    let prefix = prefix.with_context(|| format!("tensor {FIRST} is missing: these are no weights of an encoder"))?;
    let beyond = format!("{prefix}encoder.layer.{}.output.dense.weight", shape.layers);
    ensure!(
        header.info(&beyond).is_none(),
        "tensor {beyond} is there, but config.json's num_hidden_layers is {}: the files are of different encoders",
        shape.layers
    );
    shape.tensors().into_iter().map(|(name, dims)| find(header, prefix, name, &dims)).collect()
}

/// Looks a parameter up by its name, or by the one that old checkpoints of TensorFlow have.
fn find<'a>(
    header: &'a Metadata,
    prefix: &str,
    name: String,
    dims: &[usize],
) -> Result<(String, &'a TensorInfo, DType)> {
    let old = name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta");
    let info = header.info(&format!("{prefix}{name}")).or_else(|| header.info(&format!("{prefix}{old}")));
    let info = info
        .with_context(|| format!("tensor {prefix}{name} is missing: the weights do not belong to this config.json"))?;
    ensure!(info.shape == dims, "tensor {prefix}{name} has shape {:?}, but config.json asks for {dims:?}", info.shape);
    let dtype = DType::try_from(info.dtype).ok();
    let dtype = dtype.filter(|dtype| [DType::F32, DType::F16, DType::BF16, DType::F64].contains(dtype));
    let dtype = dtype.with_context(|| {
        format!("tensor {prefix}{name} is of type {:?}: core reads F32, F16, BF16 and F64", info.dtype)
    })?;
    Ok((name, info, dtype))
}

fn body(file: &mut File, start: u64, info: &TensorInfo) -> Result<Vec<u8>> {
    let (from, to) = info.data_offsets;
    let mut body = vec![0; to - from];
    file.seek(SeekFrom::Start(start + from as u64))?;
    file.read_exact(&mut body)?;
    Ok(body)
}
