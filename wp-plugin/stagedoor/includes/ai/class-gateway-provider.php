<?php
/**
 * The provider, as WordPress' AI client knows providers. Loaded on 7.0 and later only.
 *
 * @package Stagedoor
 */

namespace Stagedoor\Ai;

use Stagedoor\Settings;
use WordPress\AiClient\Providers\ApiBasedImplementation\AbstractApiProvider;
use WordPress\AiClient\Providers\ApiBasedImplementation\ListModelsApiBasedProviderAvailability;
use WordPress\AiClient\Providers\Contracts\ModelMetadataDirectoryInterface;
use WordPress\AiClient\Providers\Contracts\ProviderAvailabilityInterface;
use WordPress\AiClient\Providers\DTO\ProviderMetadata;
use WordPress\AiClient\Providers\Enums\ProviderTypeEnum;
use WordPress\AiClient\Providers\Http\Enums\RequestAuthenticationMethod;
use WordPress\AiClient\Providers\Models\Contracts\ModelInterface;
use WordPress\AiClient\Providers\Models\DTO\ModelMetadata;

/**
 * Stagedoor's gateway.
 */
final class Gateway_Provider extends AbstractApiProvider {

	/**
	 * Where its API starts.
	 *
	 * @return string
	 */
	protected static function baseUrl(): string {
		return Settings::base_url() . '/v1';
	}

	/**
	 * A model.
	 *
	 * @param ModelMetadata    $model    Which.
	 * @param ProviderMetadata $provider Whose.
	 * @return ModelInterface
	 */
	protected static function createModel( ModelMetadata $model, ProviderMetadata $provider ): ModelInterface {
		return new Gateway_Model( $model, $provider );
	}

	/**
	 * What it is called.
	 *
	 * @return ProviderMetadata
	 */
	protected static function createProviderMetadata(): ProviderMetadata {
		return new ProviderMetadata(
			'stagedoor',
			'Stagedoor',
			ProviderTypeEnum::server(),
			admin_url( 'options-general.php?page=stagedoor' ),
			RequestAuthenticationMethod::apiKey(),
			__( 'Any model, through your own gateway, its limits and its spending caps.', 'stagedoor' )
		);
	}

	/**
	 * Whether it can be used.
	 *
	 * @return ProviderAvailabilityInterface
	 */
	protected static function createProviderAvailability(): ProviderAvailabilityInterface {
		return new ListModelsApiBasedProviderAvailability( static::modelMetadataDirectory() );
	}

	/**
	 * Its models.
	 *
	 * @return ModelMetadataDirectoryInterface
	 */
	protected static function createModelMetadataDirectory(): ModelMetadataDirectoryInterface {
		return new Gateway_Models();
	}
}
