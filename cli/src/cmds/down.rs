use std::path::PathBuf;

use clap::Args;
use ippriv::state::State;
use ippriv::telescope::{Client, Host, Refused};

use super::apply::apply;
use crate::{Failed, file, output};

/// Take down what a file built; a kill switch stays unless released
#[derive(Args)]
pub(crate) struct Down {
    /// File with static keys, of mode 0600 and with `lab: true`
    file: PathBuf,
    /// Remove the kill switch too, so that traffic leaves directly again
    #[arg(long)]
    release: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl Down {
    pub(crate) fn run(self) -> Result<(), Failed> {
        let config = file::read(&self.file)?;
        let kept = if self.release { Ok(State::default()) } else { kill_switch(config.host.client) };
        let kept = kept.map_err(|refused| Failed::Unwound(refused.to_string()))?;
        let stays = kept.nft.is_some();
        apply(kept, self.json)?;
        if stays && !self.json {
            output::text("the kill switch stays: nothing leaves directly until down --release\n")?;
        }
        Ok(())
    }
}

/// What stays of a client when its circuits go.
fn kill_switch(client: Option<Client>) -> Result<State, Refused> {
    let client = client.filter(|client| client.kill_switch);
    let client = client.map(|client| Client { circuits: Vec::new(), ..client });
    Ok(Host { client, relay: None }.desired()?.state)
}
