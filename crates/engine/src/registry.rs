//! Images that come from and go to registries.

use orlop_image::{PullOptions, Pulled, PushOptions, PushedImage, TransferWatch};
use orlop_registry::{Client, ClientOptions};

use crate::{Engine, Result};

impl Engine {
    /// A client with the settings of the calling user and of this machine.
    pub fn registry_client(&self) -> Result<Client> {
        Ok(Client::new(ClientOptions::of_environment()?)?)
    }

    /// Pulls an image, or every tag of a repository.
    pub fn image_pull(&self, options: &PullOptions, watch: &TransferWatch) -> Result<Vec<Pulled>> {
        let client = self.registry_client()?;
        self.image_pull_by(&client, options, watch)
    }

    /// The same with a client of the caller's own.
    pub fn image_pull_by(
        &self,
        client: &Client,
        options: &PullOptions,
        watch: &TransferWatch,
    ) -> Result<Vec<Pulled>> {
        let pulled = self.images().pull(client, options, watch);
        match &pulled {
            Ok(_) => self.store.keep_reserve(),
            // What it unpacked in vain goes, and makes room.
            Err(_) => self.reap_in_background(),
        }
        Ok(pulled?)
    }

    /// Pushes an image, or every tag of a repository.
    pub fn image_push(
        &self,
        options: &PushOptions,
        watch: &TransferWatch,
    ) -> Result<Vec<PushedImage>> {
        let client = self.registry_client()?;
        self.image_push_by(&client, options, watch)
    }

    /// The same with a client of the caller's own.
    pub fn image_push_by(
        &self,
        client: &Client,
        options: &PushOptions,
        watch: &TransferWatch,
    ) -> Result<Vec<PushedImage>> {
        Ok(self.images().push(client, options, watch)?)
    }
}
