//! Where Wireshark looks for extcaps, and overtap's place there.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

use super::catalogue::Catalogue;
use crate::controller;
use crate::exit::Exit;

/// Puts a link to this program into the folder.
pub(super) fn install(folder: Option<&Path>) -> anyhow::Result<Exit> {
    let (folder, is_sure) = match folder {
        Some(folder) => (folder.to_owned(), true),
        None => personal()?,
    };
    let program = std::env::current_exe().context("cannot tell where this program is")?;
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let link = folder.join(NAME);
    remove_link(&link)?;
    symlink(&program, &link).with_context(|| format!("cannot make {}", link.display()))?;
    println!("{} -> {}", link.display(), program.display());
    if !is_sure {
        eprintln!(
            "overtap: the Wireshark found here names no personal extcap folder (versions before 4.2 \
             have none); for it, give the one that `tshark -G folders` names: sudo overtap extcap \
             install --folder DIR"
        );
    }
    match Catalogue::take(controller::login(false)?) {
        Ok(catalogue) => {
            catalogue.keep();
            let whose = catalogue.controller.as_deref().unwrap_or("this host");
            println!(
                "{} machines of {whose}; refresh the interfaces (F5)",
                catalogue.machines.len()
            );
        }
        Err(error) => eprintln!("overtap: no list of machines yet: {error:#}"),
    }
    Ok(Exit::Done)
}

/// Takes it out.
pub(super) fn uninstall(folder: Option<&Path>) -> anyhow::Result<Exit> {
    let folder = match folder {
        Some(folder) => folder.to_owned(),
        None => personal()?.0,
    };
    let link = folder.join(NAME);
    if !remove_link(&link)? {
        bail!("{} is not there", link.display());
    }
    println!("{} is gone", link.display());
    Ok(Exit::Done)
}

/// Removes a link; `false` if there was none. What is no link is somebody else's.
fn remove_link(link: &Path) -> anyhow::Result<bool> {
    match fs::symlink_metadata(link) {
        Ok(found) if found.is_symlink() => {
            fs::remove_file(link).with_context(|| link.display().to_string())?;
            Ok(true)
        }
        Ok(_) => bail!("{} is there and no link; move it away", link.display()),
        Err(_) => Ok(false),
    }
}

/// The folder of this user, and whether the Wireshark that is installed looks there. Without one,
/// the folder that it has since 4.2.
fn personal() -> anyhow::Result<(PathBuf, bool)> {
    let said = Command::new("tshark").args(["-G", "folders"]).output();
    let said = said.map(|done| String::from_utf8_lossy(&done.stdout).into_owned()).ok();
    let named = said.as_deref().and_then(named).map(PathBuf::from);
    if let Some(folder) = named {
        return Ok((folder, true));
    }
    let home = std::env::var_os("HOME").filter(|home| !home.is_empty());
    let home = PathBuf::from(home.context("HOME is not set; give --folder")?);
    Ok((home.join(".local/lib/wireshark/extcap"), said.is_none()))
}

/// The personal folder in what `tshark -G folders` says.
fn named(said: &str) -> Option<&str> {
    let lines = said.lines().filter_map(|line| line.split_once(':'));
    let mut folders = lines.map(|(name, folder)| (name.trim().to_lowercase(), folder.trim()));
    folders.find(|(name, _)| name == "personal extcap path").map(|(_, folder)| folder)
}

/// What the link is called; Wireshark does not mind.
const NAME: &str = "overtap";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_personal_folder_is_taken_from_what_tshark_says() {
        let new = "Temp:\t/tmp\nPersonal Extcap path:\t/home/a/.local/lib/wireshark/extcap\nGlobal \
                   Extcap path:\t/usr/lib/wireshark/extcap\n";
        assert_eq!(named(new), Some("/home/a/.local/lib/wireshark/extcap"));
        assert_eq!(named("Extcap path:   \t/usr/lib/x/wireshark/extcap\n"), None);
    }
}
