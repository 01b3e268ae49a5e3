// SPDX-License-Identifier: GPL-2.0

//! Extracts values from JSON for shell scripts.

use std::error::Error;
use std::io::{self, Read};

use clap::Args;
use serde_json::Value;

#[derive(Args)]
pub struct Options {
    /// The value to print: names and numbers with dots between them. For an array or an object, its length.
    path: String,
}

/// Runs it.
pub fn run(options: &Options) -> Result<String, Box<dyn Error>> {
    let mut text = String::new();
    io::stdin().read_to_string(&mut text)?;
    let whole: Value = serde_json::from_str(&text)?;
    let mut value = &whole;
    for part in options.path.split('.') {
        let next = match part.parse::<usize>() {
            Ok(index) => value.get(index),
            Err(_) => value.get(part),
        };
        value = next.ok_or_else(|| format!("there is no {part} of {} in {text}", options.path))?;
    }
    Ok(match value {
        Value::Array(items) => items.len().to_string(),
        Value::Object(members) => members.len().to_string(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    })
}
