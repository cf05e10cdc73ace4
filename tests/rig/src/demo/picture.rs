//! A picture of the call: both waveforms on one time axis, with what happened marked.

use std::fs;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, anyhow};
use plotters::prelude::*;
use plotters::style::{FontStyle, register_font};
use rig::Recording;

use super::RATE_HZ;
use super::live::Told;
use super::tape::Tape;

const WIDTH: u32 = 1600;
const HEIGHT: u32 = 760;
/// Room above the waveforms for the words. [pixels]
const WORDS: i32 = 200;
const FONT: &str = "/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf";

const CALLER: RGBColor = RGBColor(31, 119, 180);
const AGENT: RGBColor = RGBColor(214, 96, 30);
const GREY: RGBColor = RGBColor(110, 110, 110);

/// Draws the picture into `path`, a PNG.
///
/// # Errors
/// When the font is not installed or the file cannot be written.
pub(crate) fn draw(tape: &Tape, heard: &Recording, told: &[Told], path: &Path) -> Result<()> {
    let font: &'static [u8] = Box::leak(fs::read(FONT).with_context(|| format!("no font at {FONT}"))?.into());
    register_font("sans-serif", FontStyle::Normal, font).map_err(|_| anyhow!("{FONT} is not a font"))?;
    let (caller, agent) = tape.tracks(heard);
    let seconds = caller.len() as f64 / f64::from(RATE_HZ);
    let area = BitMapBackend::new(path, (WIDTH, HEIGHT)).into_drawing_area();
    area.fill(&WHITE)?;
    let (words, waves) = area.split_vertically(WORDS);
    let tracks = waves.split_evenly((2, 1));
    wave(&tracks[0], &caller, seconds, ("caller", ""), CALLER)?;
    wave(&tracks[1], &agent, seconds, ("agent", "seconds since the answer"), AGENT)?;
    marks(&words, &waves, tape.start, seconds, told)?;
    area.present().with_context(|| format!("cannot write {}", path.display()))?;
    Ok(())
}

type Area<'a> = DrawingArea<BitMapBackend<'a>, plotters::coord::Shift>;

/// Rows of words.
const ROWS: usize = 10;
/// Longest text of a mark.
const CHARACTERS: usize = 60;
/// Left edge of the waveforms. [pixels]
const LEFT: i32 = 60;
/// Room for the time axis. [pixels]
const BOTTOM: i32 = 40;
/// Right margin. [pixels]
const RIGHT: i32 = 20;

fn wave(area: &Area<'_>, samples: &[i16], seconds: f64, (name, axis): (&str, &str), colour: RGBColor) -> Result<()> {
    let mut chart = ChartBuilder::on(area)
        .margin_right(RIGHT)
        .margin_left(10)
        .set_label_area_size(LabelAreaPosition::Left, LEFT - 10)
        .set_label_area_size(LabelAreaPosition::Bottom, BOTTOM)
        .build_cartesian_2d(0.0..seconds, -1.0..1.0f64)?;
    chart
        .configure_mesh()
        .disable_y_mesh()
        .y_labels(0)
        .x_labels(20)
        .x_desc(axis)
        .y_desc(name)
        .light_line_style(WHITE)
        .label_style(("sans-serif", 15))
        .axis_desc_style(("sans-serif", 18))
        .draw()?;
    let loudest = samples.iter().map(|sample| sample.unsigned_abs()).max().unwrap_or(1).max(1);
    let columns = (WIDTH as i32 - LEFT - RIGHT) as usize;
    let chunk = samples.len().div_ceil(columns).max(1);
    chart.draw_series(samples.chunks(chunk).enumerate().map(|(column, chunk_samples)| {
        let at = (column * chunk) as f64 / f64::from(RATE_HZ);
        let scaled = |sample: Option<&i16>| f64::from(*sample.unwrap_or(&0)) / f64::from(loudest);
        let (low, high) = (scaled(chunk_samples.iter().min()), scaled(chunk_samples.iter().max()));
        PathElement::new([(at, low), (at, high)], colour)
    }))?;
    Ok(())
}

/// Marks what was told at the time it was told, words above and a line through both waveforms.
fn marks(words: &Area<'_>, waves: &Area<'_>, start: Instant, seconds: f64, told: &[Told]) -> Result<()> {
    let width = f64::from(WIDTH as i32 - LEFT - RIGHT);
    let mut rows = [0; ROWS];
    for told in told.iter().filter(|told| told.at >= start) {
        let at = (told.at - start).as_secs_f64().min(seconds);
        let x = LEFT + (at / seconds * width) as i32;
        let colour = match told.who {
            "caller" => CALLER,
            "module" => AGENT,
            _ => GREY,
        };
        let text: String = told.what.chars().take(CHARACTERS).collect();
        let style = ("sans-serif", 14).into_font().color(&colour);
        let text_width = style.font.layout_box(&text).map_or(0, |((left, _), (right, _))| right - left);
        let left = (x + 3).min(WIDTH as i32 - RIGHT - text_width).max(0);
        let row = rows.iter().position(|&taken_until| taken_until < left).unwrap_or(ROWS - 1);
        rows[row] = left + text_width + 8;
        let y = 4 + row as i32 * (WORDS - 8) / ROWS as i32;
        words.draw(&Text::new(text, (left, y), style))?;
        words.draw(&PathElement::new([(x, y), (x, WORDS)], colour.mix(0.45)))?;
        waves.draw(&PathElement::new([(x, 0), (x, HEIGHT as i32 - WORDS - BOTTOM)], colour.mix(0.45)))?;
    }
    Ok(())
}
